"""The subcommands of `capgate`: each module adds its parser and runs it."""
