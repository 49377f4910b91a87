"""Links between our own parts by TCP: real sockets, real processes, certificates of every wrong kind."""
