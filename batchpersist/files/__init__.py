"""Files that appear whole, are durable, and are recognised again."""
