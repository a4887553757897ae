"""Draw and photograph a food package.

From the product to its pictures: `product` draws facts and a theme, `panel` and `arranging` print the face
from blocks (`tables`, `us_label`, `print_blocks`, `marks`), and `camera`, `surface` and `photograph` take the
picture.
"""
