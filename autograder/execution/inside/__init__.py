"""What is shown to a sandbox and runs in it. Each file stands alone and imports none of ours."""
