"""The daily quality report: what of a UTC day is here, what is not, and what to do about it.

`queries` ask the marts, `facts` hold the answers, `verdict` judges them, `document` lays them out
as JSON, `charts` and `render` turn that into a page and a mail; all of these are pure. `publish`
does the rest: it runs the queries, stores and sends.
"""
