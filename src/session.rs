//! Prompt → prefill → decode → text.
