"""The client side: raw HTTP/1.1 that costs little, and times of what came back."""
