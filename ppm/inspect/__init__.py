"""Looking at environments and sources; nothing here changes one."""
