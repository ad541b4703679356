"""The registry gate: a store plugin that lets a version become champion only on sound evidence."""
