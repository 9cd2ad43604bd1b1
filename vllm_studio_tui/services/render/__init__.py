"""Files for other tools, made from recipes and settings: a file of this folder for each kind."""
