"""Drawing as pure functions: rows of styled text, numbers, glyphs, bars and charts. No widgets."""
