"""What happened in a run, as data: results, comparisons, labels, history."""
