"""The development server, which runs on a developer's machine only: its runtime, guard and supervisor."""
