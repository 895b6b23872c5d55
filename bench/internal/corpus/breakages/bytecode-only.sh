# environment: deeptools/3.11
# what: the Python files of a package were deleted, and its __pycache__ was kept
find "$SITE/matplotlib" -name '*.py' -delete
