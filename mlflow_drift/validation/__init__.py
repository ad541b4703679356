"""The tests a challenger must win, one file each."""
