"""The Faust shell: everything that waits, reads a clock or can be down."""
