"""Charts as SVG, which any browser shows and no library has to write; every one says in words what it draws."""
