"""Operations of the platform: what the DAGs call.

Composer puts the folder `plugins` on the path, a checkout its parent: modules import each other
relatively, so that both work. Nothing here imports another package of the platform, and importing
this package loads nothing heavy.
"""
