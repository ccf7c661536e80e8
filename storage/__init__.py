"""Files, uploads, objects in S3 or a folder, antivirus: nothing of procurement."""
