"""report.html: the training report, a self-contained page that loads nothing from elsewhere.

`page.page(facts)` renders it: drawings by matplotlib, texts by a template that escapes all of them.
"""
