def correct(prompts, responses):
    return [float(r == str(eval(p.rstrip("=")))) for p, r in zip(prompts, responses)]
