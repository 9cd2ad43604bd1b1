"""The SQLite database: migrations and one repository per noun."""
