"""`make demo`: from nothing to a bad version rolled back and a good one promoted."""
