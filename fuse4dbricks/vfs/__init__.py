"""The file system without FUSE: inodes, handles, the namespace and the control files."""
