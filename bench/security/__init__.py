"""What do damaged files and killed processes do?"""
