"""How numbers are shown: colours and layout of figures, numbers in words, and the HTML page.

Nothing here knows what is shown; that is for `topics`.
"""
