"""Networks in plain torch, and the loop that trains them. torch is imported where a network is built."""
