"""The course as pages: turns stored notebooks, results and docstrings into the source of a site.

Nothing is executed and nothing is fetched. What comes out is what Sphinx reads (docs/site/conf.py):
notebooks without pictures and programs inside, Markdown, and the files that pages share.
"""
