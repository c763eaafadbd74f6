"""Watching the stream: observe, judge, tell once, show.

`observe` asks the world and returns `observations`; `signals` reduces them, `decisions` is the
table that names the stage at fault, `words` says it, `judge` is the three together; `incidents`
remembers what was told; `watch` is a whole look, for the DAG; `page` shows it inside Airflow's UI.
"""
