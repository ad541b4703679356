"""From two sets of rows to Evidence: one file a detector, one null for all of them."""
