"""What do schemes, granularities and widths make of trained weights, and what do they cost?"""
