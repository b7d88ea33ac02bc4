"""A run: its folder, its stages, and the pipeline that walks them."""
