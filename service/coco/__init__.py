"""Front ends for clients and servers of Confidential Containers: composition and HTTP."""
