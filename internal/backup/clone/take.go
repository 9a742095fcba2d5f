package clone

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Take clones the server into w. What has been written is a clone only if Take
// returns no error; w is not closed. ctx bounds the whole clone.
func Take(ctx context.Context, o Options, w io.Writer) (Taken, error) {
	if err := o.complete(); err != nil {
		return Taken{}, fmt.Errorf("clone: %w", err)
	}
	t, err := take(ctx, o, w)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		return Taken{}, fmt.Errorf("clone: %w", err)
	}
	return t, nil
}

func take(ctx context.Context, o Options, w io.Writer) (_ Taken, err error) {
	d, err := greet(ctx, o)
	if err != nil {
		return Taken{}, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	s, err := begin(ctx, o, d, w)
	if err != nil {
		return Taken{}, err
	}
	if err := s.run(ctx); err != nil {
		err = errors.Join(err, d.letGo()) // first: to abort takes its time
		s.abort()
		return Taken{}, err
	}
	s.end()
	return s.out.taken, nil
}
