"""report.html: what became of a training, on one page that needs nothing else and asks nobody for anything.

`page.page(facts)` makes it; drawn with matplotlib, worded by a template that escapes every word.
"""
