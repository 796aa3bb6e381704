"""One order as its page shows it: verdict, story, lines, API calls, what customers are written; bounded reads."""
