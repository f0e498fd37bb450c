// Package handler is for the functions that run steps. They find their [Task] and their
// [Logger] in the context, and decide with [Permanent], [RetryAfter] and [Skip] what follows
// a failed attempt:
//
//	func (s *Shop) Charge(ctx context.Context, in shop.Checked) (shop.Receipt, error) {
//		receipt, err := s.bank.Charge(ctx, in.Card, in.Total)
//		if errors.Is(err, bank.ErrStolen) {
//			return shop.Receipt{}, handler.Permanent(err)
//		}
//		return receipt, err
//	}
//
// The Serve function of a generated package turns them into a [Service] for a worker. Its
// options limit, wrap and leave out handlers: [Limit], [Use], [Without].
//
// The rest is for generated code: a [Source] reads the input of a step from the values of
// its run, and [Handle] ties it to a function.
package handler
