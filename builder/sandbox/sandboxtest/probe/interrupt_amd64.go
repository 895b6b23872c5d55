package main

// interrupt80 calls the kernel as a 32-bit program does.
func interrupt80()
