"""Floor 5: local web page that restores an uploaded photo: page, answers, kept files, request filter, server."""
