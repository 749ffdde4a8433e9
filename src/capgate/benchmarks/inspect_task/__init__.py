"""A benchmark that is an Inspect task: one of a package, or one of the user's own."""
