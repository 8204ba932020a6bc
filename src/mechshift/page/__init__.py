"""Display of numbers: colours and layout of figures, numbers in words, the HTML page.

Nothing here knows what is shown; that is for `topics`.
"""
