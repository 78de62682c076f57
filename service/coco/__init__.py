"""Front ends of Confidential Containers' services over HTTP, and the composition of their parts."""
