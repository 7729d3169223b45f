"""Files with pickles in them, read as plain data: nothing in them is run."""
