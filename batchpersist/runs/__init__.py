"""What a completed run is: its ids, its JSON text, its place."""
