"""What a learner types and sees: the verbs, their feedback, and the progress that is kept."""
