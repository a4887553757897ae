"""Rendered food packages: words, fonts, tables, look-alikes, layouts, and a camera that photographs them."""
