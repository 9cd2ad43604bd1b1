"""Drawing: rows of styled text, numbers, glyphs, bars and charts. Pure functions; nothing here knows a widget."""
