// Package handler is for the functions that do the work of steps. They find their [Task]
// and their [Logger] in the context, and say with [Permanent], [RetryAfter] and [Skip]
// what becomes of an attempt that failed:
//
//	func (s *Shop) Charge(ctx context.Context, in shop.Checked) (shop.Receipt, error) {
//		receipt, err := s.bank.Charge(ctx, in.Card, in.Total)
//		if errors.Is(err, bank.ErrStolen) {
//			return shop.Receipt{}, handler.Permanent(err)
//		}
//		return receipt, err
//	}
//
// The generated package of a flow makes a [Service] of them, which a worker runs. Its
// options limit, wrap and leave out handlers: [Limit], [Use], [Without].
//
// The rest is what generated code is made of: a [Source] reads what a step takes from the
// values of its run, and [Handle] ties it to a function.
package handler
