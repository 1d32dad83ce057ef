"""What every stage trains with: the learner, the journal of its steps, the job it is given."""
