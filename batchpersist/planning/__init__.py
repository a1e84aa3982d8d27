"""Which worker settles what: rows cut into shards, and what travels of them."""
