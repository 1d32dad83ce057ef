"""Data: files to checked records, records to tokens, tokens to batches; and a world that brings its own."""
