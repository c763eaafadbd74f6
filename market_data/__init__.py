"""What flows through the platform, defined once: records, frames, rejections, table schemas.

Everything here is pure: no sockets, no files, no clock, no cloud client. The collector, the Beam
jobs and the sandbox import it; it imports nothing of theirs (an import-linter contract holds that).
"""
