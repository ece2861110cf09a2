"""How fast is it, and what does it cost to start, to run and to evaluate?"""
