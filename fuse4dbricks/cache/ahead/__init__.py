"""What is fetched before anybody waits for it: listings for who walks a tree, small files for who reads a folder."""
